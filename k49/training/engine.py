"""The training step, top to bottom: one program for a block of steps, compiled by XLA for an mlp.

Between the steps of a block nothing returns to Python; between blocks NumPy gathers the next
images from the memory-mapped arrays. The model, its layers and the optimizer are Keras', and stay
what Keras says they are.

`make bench` compares it with other ways to do the same. To expect on two cores of an AMD EPYC with
AVX-512, for 193,818 images: 3.3 s in the report's recipe, 4.1 for an mlp of three layers of 512
with the default one's settings, and 42 in the cnn's (46 with distortions, as the 4.1 are).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from k49.settings import TrainingConfig
from k49.training.augment import augmentation, dropout_mask

Tensor = Any  # TensorFlow has no types
# Images without training. 256 at once take up to 1.2 times as long. More than 512 gain a cnn
# nothing; its first layer makes 50 KB of each.
SCORED_AT_ONCE = 512
CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Conv2DTranspose,
)
DROPOUT_STREAM = 1  # and up, one for each layer; `augment` uses the stream below and one far above


def compile_train_block(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, config: TrainingConfig
) -> Callable[..., Tensor]:
    """Return the function that takes a block of steps a call. It compiles when first called.

    Args:
        model: the last of its layers is the softmax.
        optimizer: built for the model's trainable variables; its learning rate is replaced.
        config: augmentation, label smoothing, and the seed: it and a step's number give all random
            numbers of that step, so that any step can be repeated.
    """
    augment = augmentation(config.augment, model.input_shape[1:3])
    classes = model.output_shape[-1]
    smoothing = config.fit.label_smoothing
    weights = model.trainable_variables
    xla = xla_pays(model)

    # autograph would take 0.6 s, for a loop
    @tf.function(jit_compile=xla, autograph=False)
    def train_block(images: Tensor, labels: Tensor, rates: Tensor, n: Tensor) -> Tensor:
        """Take `n` steps, one for each batch.

        Args:
            images, labels: (K, B, H, W, 1) and (K, B, C) uint8; what follows the first n batches
                is not looked at, so that a shorter block needs no other program.
            rates: (K,) float32, the learning rate of each step.
            n: () int32, at most K.

        Returns:
            Of all images, the sum of their cross-entropies and how many were right, (2,) float32.
        """

        def step(k: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
            seed = tf.stack([tf.constant(config.seed, tf.int64), steps_taken(optimizer)])
            with tf.name_scope("distort"):  # for `benchmarks.breakdown`, and other profilers
                x = augment(images[k], seed)
            y = tf.cast(labels[k], tf.float32)
            with tf.GradientTape() as tape:
                logits = forward(model, x, seed, xla)
                target = y * (1 - smoothing) + smoothing / classes
                loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(target, logits))
            optimizer.learning_rate.assign(rates[k])
            optimizer.apply(tape.gradient(loss, weights), weights)
            return k + 1, sums + cross_entropy_and_right(y, logits)

        _, sums = tf.while_loop(lambda k, sums: k < n, step, (tf.constant(0), tf.zeros(2)))
        return sums

    return train_block


def forward(
    model: keras.Model, images: Tensor, seed: Tensor | None = None, xla: bool = False
) -> Tensor:
    """Return the logits (B, C) of images (B, H, W, 1) uint8.

    Dropout is done here: Keras' can't be told which random numbers to use, and those that
    TensorFlow chooses take XLA eighteen times as long on a CPU (6.0 ms for 32,768, not 0.33).

    Args:
        model: of layers that are each called once; the last is the softmax.
        images: to read.
        seed: as for `augment.bits`. With it as in training: dropout, and batch normalization by the
            batch's own means, which change the running ones.
        xla: whether XLA compiles it; if not, `convolve` would be slower than the layer.
    """
    training = seed is not None
    # inputs and outputs of layers, by Keras' symbols
    values = {id(model.inputs[0]): images}
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    for i, layer in enumerate(layers[:-1]):
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        x: Tensor = [values[id(tensor)] for tensor in inputs]
        x = x if len(x) > 1 else x[0]
        if isinstance(layer, keras.layers.Dropout) and training:
            with tf.name_scope("dropout"):
                mask = dropout_mask(x.shape, layer.rate, seed, DROPOUT_STREAM + i)
                x = tf.where(mask, x / (1 - layer.rate), 0.0)
        elif has_fused_kernel(layer) and x.shape.rank == 4:
            x = normalize(layer, x, training)
        elif xla and is_fixed(layer):
            x = convolve(layer, x)
        else:
            x = layer(x, training=training)
        values[id(layer.output)] = x
    return values[id(layers[-1].input)]


def has_fused_kernel(layer: keras.Layer) -> bool:
    """Return whether `normalize` can compute a layer on images (B, H, W, C)."""
    if not isinstance(layer, keras.layers.BatchNormalization):
        return False
    return layer.scale and layer.center and layer.axis in (-1, 3)


def normalize(layer: keras.layers.BatchNormalization, x: Tensor, training: bool) -> Tensor:
    """Do what `layer` does, to images (B, H, W, C), by the kernel that TensorFlow has for it.

    Keras computes means, variances and all gradients one after the other, each over all of `x`:
    a training step takes it half as long again.
    """
    mean, variance = layer.moving_mean, layer.moving_variance
    kernel = partial(
        tf.compat.v1.nn.fused_batch_norm, x, layer.gamma, layer.beta, epsilon=layer.epsilon
    )
    if not training:
        return kernel(mean=mean, variance=variance, is_training=False)[0]
    y, batch_mean, unbiased = kernel(is_training=True)
    n, keep = math.prod(x.shape[:-1]), layer.momentum
    mean.assign(keep * mean + (1 - keep) * batch_mean)
    variance.assign(keep * variance + (1 - keep) * unbiased * ((n - 1) / n))  # Keras': biased
    return y


def is_fixed(layer: keras.Layer) -> bool:
    """Return whether `convolve` can compute a layer, a convolution that isn't trained."""
    if not isinstance(layer, keras.layers.Conv2D) or layer.trainable or layer.use_bias:
        return False
    steps = {*layer.strides, *layer.dilation_rate}
    return layer.input.shape[-1] == 1 and steps == {1} and layer.padding == "same"


def convolve(layer: keras.layers.Conv2D, x: Tensor) -> Tensor:
    """Do what `layer` does, to images (B, H, W, 1), as a sum of moved images.

    XLA makes one loop of it and of what follows, and takes an eighth of the time of a convolution.
    """
    (height, width), (rows, columns) = x.shape[1:3], layer.kernel_size
    around = [[(length - 1) // 2, length // 2] for length in (rows, columns)]
    padded = tf.pad(x, [[0, 0], *around, [0, 0]])
    moved = [
        padded[:, row : row + height, column : column + width] * layer.kernel[row, column, 0]
        for row in range(rows)
        for column in range(columns)
    ]
    return layer.activation(tf.add_n(moved))


def compile_score_block(model: keras.Model) -> Callable[[Tensor, Tensor], Tensor]:
    xla = xla_pays(model)

    @tf.function(jit_compile=xla, autograph=False)
    def score_block(images: Tensor, labels: Tensor) -> Tensor:
        """Return sums as `train_block`, (2,) float32; rows of labels without a 1 count nothing."""
        logits = forward(model, images, xla=xla)
        return cross_entropy_and_right(tf.cast(labels, tf.float32), logits)

    return score_block


def compile_predict(model: keras.Model) -> Callable[[Tensor], Tensor]:
    """Return the function from images (N, H, W, 1) uint8 to probabilities (N, C), for any N."""
    images = tf.TensorSpec(model.input_shape, tf.uint8)
    softmax = model.layers[-1]
    ours = softmax.name == "probabilities"
    predict = (lambda x: softmax(forward(model, x))) if ours else model
    return tf.function(predict, [images], autograph=False)


def xla_pays(model: keras.Model) -> bool:
    """Return whether XLA is faster: not with convolutions that are trained, on a CPU.

    An epoch of the cnn recipe on 5,005 images takes it 53 seconds; oneDNN's convolutions 1.3.
    """
    return all(is_fixed(layer) or not isinstance(layer, CONVOLUTIONS) for layer in model.layers)


def cross_entropy_and_right(y: Tensor, logits: Tensor) -> Tensor:
    """Sum over a batch the plain cross-entropy, and 1 for each image that is right; (2,)."""
    right = tf.one_hot(tf.argmax(logits, 1), y.shape[1]) * y
    losses = tf.nn.softmax_cross_entropy_with_logits(y, logits)
    return tf.stack([tf.reduce_sum(losses), tf.reduce_sum(right)])


def steps_taken(optimizer: keras.optimizers.Optimizer) -> Tensor:
    return tf.cast(optimizer.iterations.value, tf.int64)
