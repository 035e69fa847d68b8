"""What a device shows of ddkit in ten minutes: python -m benchmarks.device check|figures|rows|all

check    2.5 minutes: is it right here? Each check passes, fails, or says that it needs CUDA
figures  1.5 minutes: how fast is it, beside bare torch and what the device can do at all?
rows     6 minutes: published rows of CIFAR-10, as many as fit, each with what was cut

Each part runs alone and writes PART-DEVICE.json and .md into --results as it goes: what is there
when the time is up, or the machine is gone, is kept. Work is done in processes of their own, two at
once where nothing is timed; one that dies or hangs costs its own line. --plan prints what takes how
long on an H100, and why. --minutes makes a part shorter: on a CPU everything is then tiny.

A machine needs torch 2.11 or later, this folder, and what `make device-wheels` puts into .whl
where it is missing; neither `datasets` nor ray. CIFAR-10 is a folder with its parquet files; a
part of the training files will do, and each row says so.

    python3 -m pip install --no-index --no-deps --target site .whl/*.whl
    PYTHONPATH=site python3 -m benchmarks.device all --data cifar10 --results results
"""
