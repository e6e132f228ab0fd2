"""`python -m gpuaug`: the command `gpuaug`."""

import sys

from .cli import main

sys.exit(main())
