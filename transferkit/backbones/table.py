"""The backbones. A new one is one row; no other file names any. Reading the table imports no Keras."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from transferkit.backbones.preprocess import caffe_bgr, centred_on_127, mean_and_deviation, minus_one_to_one
from transferkit.backbones.spec import BackboneSpec, WeightsFile

_RESNET_ENDS = ("pool1_pool", "conv2_block3_out", "conv3_block4_out", "conv4_block{}_out", "conv5_block3_out")
_VGG_ENDS = ("block1_pool", "block2_pool", "block3_pool", "block4_pool", "block5_pool")


def _application(name: str) -> Callable[..., Any]:
    def build(*, input_tensor: Any) -> Any:
        from keras import applications

        builders = {
            "vgg16": applications.VGG16,
            "vgg19": applications.VGG19,
            "resnet50": applications.ResNet50,
            "resnet101": applications.ResNet101,
            "resnet152": applications.ResNet152,
            "inception_v3": applications.InceptionV3,
            "xception": applications.Xception,
            "densenet121": applications.DenseNet121,
        }
        return builders[name](include_top=False, weights=None, input_tensor=input_tensor)

    return build


def _efficientnet_lite0(*, input_tensor: Any) -> Any:
    from transferkit.backbones.efficientnet_lite0 import build_efficientnet_lite0

    return build_efficientnet_lite0(input_tensor=input_tensor)


def _efficientnet_lite0_imagenet(backbone: Any) -> None:
    from transferkit.backbones.efficientnet_lite0 import load_imagenet_weights

    load_imagenet_weights(backbone)


def _notop(folder: str, name: str, md5: str) -> WeightsFile:
    base = "https://storage.googleapis.com/tensorflow/keras-applications"
    return WeightsFile(f"{base}/{folder}/{name}_weights_tf_dim_ordering_tf_kernels_notop.h5", md5)


BACKBONES: Final[Mapping[str, BackboneSpec]] = {
    row.name: row
    for row in (
        BackboneSpec(
            name="efficientnet_lite0",
            build=_efficientnet_lite0,
            preprocess=centred_on_127,
            image_size_px=224,
            min_size_px=32,
            feature_dim=1280,
            stage_ends=("block1a_project_bn", "block2b_add", "block3b_add", "block5c_add", "final_relu6"),
            imagenet=_efficientnet_lite0_imagenet,
            licence="Apache-2.0",
            source="Tan and Le 2019, https://arxiv.org/abs/1905.11946",
        ),
        BackboneSpec(
            name="vgg16",
            build=_application("vgg16"),
            preprocess=caffe_bgr,
            image_size_px=224,
            min_size_px=32,
            feature_dim=512,
            stage_ends=_VGG_ENDS,
            imagenet=_notop("vgg16", "vgg16", "6d6bbae143d832006294945121d1f1fc"),
            licence="CC BY 4.0",
            source="Simonyan and Zisserman 2014, https://arxiv.org/abs/1409.1556",
            has_batch_norm=False,
        ),
        BackboneSpec(
            name="vgg19",
            build=_application("vgg19"),
            preprocess=caffe_bgr,
            image_size_px=224,
            min_size_px=32,
            feature_dim=512,
            stage_ends=_VGG_ENDS,
            imagenet=_notop("vgg19", "vgg19", "253f8cb515780f3b799900260a226db6"),
            licence="CC BY 4.0",
            source="Simonyan and Zisserman 2014, https://arxiv.org/abs/1409.1556",
            has_batch_norm=False,
        ),
        BackboneSpec(
            name="resnet50",
            build=_application("resnet50"),
            preprocess=caffe_bgr,
            image_size_px=224,
            min_size_px=32,
            feature_dim=2048,
            stage_ends=tuple(end.format(6) for end in _RESNET_ENDS),
            imagenet=_notop("resnet", "resnet50", "4d473c1dd8becc155b73f8504c6f6626"),
            licence="MIT",
            source="He et al. 2015, https://arxiv.org/abs/1512.03385",
        ),
        BackboneSpec(
            name="resnet101",
            build=_application("resnet101"),
            preprocess=caffe_bgr,
            image_size_px=224,
            min_size_px=32,
            feature_dim=2048,
            stage_ends=tuple(end.format(23) for end in _RESNET_ENDS),
            imagenet=_notop("resnet", "resnet101", "88cf7a10940856eca736dc7b7e228a21"),
            licence="MIT",
            source="He et al. 2015, https://arxiv.org/abs/1512.03385",
        ),
        BackboneSpec(
            name="resnet152",
            build=_application("resnet152"),
            preprocess=caffe_bgr,
            image_size_px=224,
            min_size_px=32,
            feature_dim=2048,
            stage_ends=(
                "pool1_pool",
                "conv2_block3_out",
                "conv3_block8_out",
                "conv4_block36_out",
                "conv5_block3_out",
            ),
            imagenet=_notop("resnet", "resnet152", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
            licence="MIT",
            source="He et al. 2015, https://arxiv.org/abs/1512.03385",
        ),
        BackboneSpec(
            name="inception_v3",
            build=_application("inception_v3"),
            preprocess=minus_one_to_one,
            image_size_px=299,
            min_size_px=75,
            feature_dim=2048,
            stage_ends=("mixed2", "mixed7", "mixed10"),
            imagenet=_notop("inception_v3", "inception_v3", "bcbd6486424b2319ff4ef7d526e38f63"),
            licence="Apache-2.0",
            source="Szegedy et al. 2015, https://arxiv.org/abs/1512.00567",
        ),
        BackboneSpec(
            name="xception",
            build=_application("xception"),
            preprocess=minus_one_to_one,
            image_size_px=299,
            min_size_px=71,
            feature_dim=2048,
            # The sums that end blocks 3, 4 and 13 have no name of their own in Keras; see stages.name_layers.
            stage_ends=("block1_conv2_act", "add_2", "add_3", "add_12", "block14_sepconv2_act"),
            imagenet=_notop("xception", "xception", "b0042744bf5b25fce3cb969f33bebb97"),
            licence="MIT",
            source="Chollet 2016, https://arxiv.org/abs/1610.02357",
        ),
        BackboneSpec(
            name="densenet121",
            build=_application("densenet121"),
            preprocess=mean_and_deviation,
            image_size_px=224,
            min_size_px=32,
            feature_dim=1024,
            stage_ends=("pool1", "pool2_pool", "pool3_pool", "pool4_pool", "relu"),
            imagenet=_notop("densenet", "densenet121", "30ee3e1110167f948a6b9946edeeb738"),
            licence="BSD-3-Clause",
            source="Huang et al. 2016, https://arxiv.org/abs/1608.06993",
        ),
    )
}
