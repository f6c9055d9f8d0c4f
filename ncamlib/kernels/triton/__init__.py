"""The CUDA backend, in Triton: device code in `forward` and `backward`, launched by `launch`."""

from ncamlib.kernels.triton.launch import INTERPRETED, available, forget, rollout, unsupported

__all__ = ["INTERPRETED", "available", "forget", "rollout", "unsupported"]
