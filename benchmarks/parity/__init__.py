"""ddkit beside the authors' released code, on the same inputs: python -m benchmarks.parity --help

    python -m benchmarks.parity --tesla DIR --mtt DIR --apm DIR --dc DIR --sre2l DIR --data cifar10

Each DIR is a checkout that you have made of github.com/justincui03/tesla,
GeorgeCazenavette/mtt-distillation, mchen725/DD_APM, VICO-UoE/DatasetCondensation and
VILA-Lab/SRe2L; one that is not named is left out. Their code is imported and run from there, on
the CPU; none of it is here. Naming a folder runs what lies in it.
"""
