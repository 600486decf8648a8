// Shows the rows of DATA, takes a decision on each, and writes the decisions as CSV files for labels/.

const CHOICES = ["relabel", "exclude", "right"];
const decisions = DATA.rows.map(() => "");

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function picture(png, description, style) {
  return element("img", { src: `data:image/png;base64,${png}`, alt: description, className: style });
}

function classOf(name, role, share) {
  const examples = DATA.examples[name].map((png) => picture(png, `sure ${name}`, ""));
  return element("div", { className: "class" },
    element("span", { className: "name" }, name), ...examples,
    element("span", { className: "share" }, `${role} ${(100 * share).toFixed(1)} %`));
}

function card(row, number) {
  const texts = { relabel: `1 it is ${row.likely}`, exclude: "2 leave it out", right: "3 label is right" };
  const choices = CHOICES.map((choice) => element("label", {},
    element("input", {
      type: "radio", name: `row${number}`, value: choice, onchange: () => decide(number, choice),
    }), ` ${texts[choice]}`));
  return element("fieldset", { onkeydown: (event) => byKey(event, number) },
    element("legend", {}, `${row.split} ${row.index}`),
    picture(row.image, `image ${row.index} of ${row.split}`, "suspect"),
    element("div", {}, classOf(row.given, "label", row.given_probability),
      classOf(row.likely, "likely", row.likely_probability)),
    element("div", { className: "choices" }, ...choices));
}

function byKey(event, number) {
  const choice = CHOICES["123".indexOf(event.key)];
  if (!choice || event.ctrlKey || event.altKey || event.metaKey) return;
  document.querySelector(`input[name=row${number}][value=${choice}]`).checked = true;
  decide(number, choice);
  document.querySelector(`input[name=row${number + 1}]`)?.focus();
}

function decide(number, choice) {
  decisions[number] = choice;
  document.querySelectorAll("fieldset")[number].classList.add("decided");
  update();
}

// Rows of a file: those that it had before, and the new ones. An image whose label is right stays in
// the file of relabelled ones with its own label: somebody has looked at it.
function rowsOf(name) {
  const added = DATA.rows.flatMap((row, i) => {
    const file = { exclude: "exclude", relabel: "relabel", right: "relabel" }[decisions[i]];
    return file === name ? [{ ...row, likely: decisions[i] === "right" ? row.given : row.likely }] : [];
  });
  return [...DATA.before[name], ...added];
}

function csv(name) {
  const columns = ["split", "index", "given", ...(name === "relabel" ? ["likely"] : [])];
  const cell = (value) => (/[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value);
  const lines = rowsOf(name).map((row) => columns.map((column) => cell(row[column])).join(","));
  return `${[columns.join(","), ...lines].join("\n")}\n`;
}

function save(name) {
  const address = URL.createObjectURL(new Blob([csv(name)], { type: "text/csv" }));
  element("a", { href: address, download: DATA.files[name] }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
  saved.add(name);
}

const saved = new Set();

function update() {
  const open = decisions.filter((choice) => !choice).length;
  document.getElementById("count").textContent = `${decisions.length - open} of ${decisions.length} decided`;
  for (const name of ["exclude", "relabel"]) {
    const button = document.getElementById(name), rows = rowsOf(name).length;
    button.textContent = `Save ${DATA.files[name]} (${rows} ${rows === 1 ? "row" : "rows"})`;
    button.disabled = !rows;
  }
  saved.clear();
}

for (const name of ["exclude", "relabel"]) {
  document.getElementById(name).onclick = () => save(name);
}
window.onbeforeunload = (event) => {
  if (decisions.some(Boolean) && !saved.size) event.preventDefault();
};
document.querySelector("main").append(...DATA.rows.map(card));
update();
