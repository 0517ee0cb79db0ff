"""How deep a layer lies, on graphs written down by hand in the form that Keras keeps them in."""

from types import SimpleNamespace

from transferkit.backbones.stages import describe_stage, layer_depths


def variable(name, *shape):
    return SimpleNamespace(name=name, shape=shape)


def layer(name, *before, weights=()):
    """A layer that was called once, on the outputs of the layers `before` it."""
    node = SimpleNamespace(parent_nodes=[one._inbound_nodes[0] for one in before])
    made = SimpleNamespace(name=name, weights=weights, _inbound_nodes=[node])
    node.operation = made
    return made


def conv(name, *before):
    return layer(name, *before, weights=(variable("kernel", 3, 3, 4, 8), variable("bias", 8)))


def norm(name, *before):
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return layer(name, *before, weights=tuple(variable(one, 8) for one in names))


def test_depth_counts_the_layers_with_a_kernel_up_to_this_one():
    image = layer("image")
    first = conv("first", image)
    relu = layer("relu", first)
    second = conv("second", relu)

    assert layer_depths([image, first, relu, second]) == (0, 1, 1, 2)


def test_depth_of_batch_norm_is_that_of_the_convolution_before_it_also_where_branches_are_interleaved():
    stem = conv("stem", layer("image"))
    middle = conv("middle", stem)
    # Keras lists a block's short cut among the last layers of its long way.
    short, long = conv("short", stem), conv("long", middle)
    short_norm, long_norm = norm("short_norm", short), norm("long_norm", long)
    total = layer("sum", short_norm, long_norm)
    after = conv("after", total)

    depths = layer_depths([stem, middle, short, long, short_norm, long_norm, total, after])

    assert depths == (1, 2, 2, 3, 2, 3, 3, 4)


def test_depth_of_a_stage_counts_what_lies_before_the_stage():
    stem = conv("stem", layer("image"))
    last = conv("last", stem)

    (kernel, bias) = describe_stage(1, [last]).weights

    assert (kernel.depth, bias.depth) == (2, 2)
    assert (kernel.role, kernel.size, kernel.rank) == ("kernel", 288, 4)
    assert (bias.role, bias.size, bias.rank) == ("bias", 8, 1)


def test_depth_is_read_from_the_first_call_of_a_layer():
    stem = conv("stem", layer("image"))
    last = conv("last", stem)
    # A model cut before it calls the layer again, on an input of its own.
    last._inbound_nodes.append(SimpleNamespace(parent_nodes=[], operation=last))

    assert layer_depths([last]) == (2,)


def test_depth_passes_through_operations_that_are_no_layers():
    stem = conv("stem", layer("image"))
    plus = layer("plus", stem)
    del plus.weights

    assert layer_depths([conv("last", plus)]) == (2,)


def test_depth_of_a_chain_longer_than_python_s_recursion_limit_is_found():
    chain = [layer("image")]
    for number in range(3000):
        chain.append(conv(f"conv_{number}", chain[-1]))

    assert layer_depths([chain[-1]]) == (3000,)
