"""The public SSM parameter of Amazon Linux 2023 for arm64, which Graviton launch templates name."""

from ministack.services import ssm

from .piece import Piece

_PARAMETER = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
# Made up, as the emulator's own image ids are: nothing boots from it.
_IMAGE = "ami-0c2023a1b2c3d4e5a"


def _mend() -> None:
    ssm._PUBLIC_AMI_PARAMETERS[_PARAMETER] = _IMAGE


PIECES = (
    Piece(
        "SSM does not know the arm64 image of Amazon Linux 2023",
        lambda: ssm._public_parameter(_PARAMETER) is None, _mend,
    ),
)
