"""The names of the networks; nothing is imported before one is asked for."""

from ddkit.runtime.registry import Registry

NETWORKS = Registry(
    "network",
    "ddkit.networks",
    {
        "convnet": "ddkit.networks.convnet:convnet",
        "resnet18": "ddkit.networks.resnet:resnet18",
        "torchvision-resnet18": "ddkit.networks.zoo:resnet18",
        "resnet50": "ddkit.networks.zoo:resnet50",
        "resnet101": "ddkit.networks.zoo:resnet101",
        "densenet121": "ddkit.networks.zoo:densenet121",
        "mobilenet_v2": "ddkit.networks.zoo:mobilenet_v2",
        "shufflenet_v2": "ddkit.networks.zoo:shufflenet_v2",
        "efficientnet_b0": "ddkit.networks.zoo:efficientnet_b0",
        "vgg11": "ddkit.networks.zoo:vgg11",
        "vit": "ddkit.networks.zoo:vit",
        "timm": "ddkit.networks.timm_zoo:timm_network",
    },
    hint="see `ddkit methods --networks`",
)
