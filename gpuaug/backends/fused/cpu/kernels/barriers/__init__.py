"""Instructions before which a pass ends, other than contrast and blur: what the pass gathers, and how the next one goes on.

begin.py       how a pass makes its strips from the image buffer        end.py   what a pass writes and gathers
sharpness.py   neighbours        tones.py   equalize and autocontrast   warp.py  warps        mix.py   sums of views
jpeg.py        JPEG              elastic.py elastic transforms, which gather as warps do
fixed16.py, float32.py           the kernels of these files for either pixel format
"""
