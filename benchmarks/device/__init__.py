"""What a device does with ddkit, beside the floor that it has itself: python -m benchmarks.device

    python -m benchmarks.device --data FOLDER_OF_CIFAR10 --minutes 10

Figures are medians of steps taken in turn with the same step in bare torch. Each stands beside its
floor: what the step's convolutions and products must at least compute or move, at the rates that
this device reached with one large product, convolution or copy. One command, nothing downloaded,
on a CPU or on CUDA; what is too slow for its share of the time is measured smaller, and says so.
"""
