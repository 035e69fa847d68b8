"""MTT (Cazenavette et al., CVPR 2022) is TESLA with hard labels; its gradient was always exact."""

from ddkit import Alias

MTT = Alias(
    method="tesla",
    options={"gradient": "exact", "labels": "hard", "iterations": 5000},
)
