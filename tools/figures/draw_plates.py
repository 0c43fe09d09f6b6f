"""Draws products for docs/evidence.md into the folder that is named: plates, white, of brushed metal and dark, and brown biscuits; good ones and some
with a scratch, a spot or a crack."""
import sys, os
import numpy as np
from PIL import Image, ImageDraw, ImageFilter
W, H = 960, 720
def noise(rng, s): return rng.normal(0, s, (H, W, 1))
def base(rng, kind):
    dx, dy = rng.integers(-6, 7, 2); ang = rng.uniform(-1.5, 1.5)
    if kind == 'white':
        bg, body = (150, 152, 156), (232, 232, 228)
    elif kind == 'dark':
        bg, body = (70, 72, 75), (30, 31, 34)
    else:
        bg, body = (45, 48, 52), (150, 154, 160)
    im = Image.new('RGB', (W, H), bg); d = ImageDraw.Draw(im)
    d.rounded_rectangle([160+dx, 110+dy, 800+dx, 610+dy], 60, fill=body)
    hole = tuple(int(c*0.55) for c in body)
    for x, y in [(240, 190), (720, 190), (240, 530), (720, 530)]:
        d.ellipse([x-28+dx, y-28+dy, x+28+dx, y+28+dy], fill=bg, outline=hole, width=6)
    d.ellipse([400+dx, 280+dy, 560+dx, 440+dy], fill=tuple(int(c*0.85) for c in body), outline=hole, width=8)
    return im, d, dx, dy, ang
def biscuit(rng):
    dx, dy = rng.integers(-6, 7, 2)
    im = Image.new('RGB', (W, H), (46, 48, 50)); d = ImageDraw.Draw(im)
    # Thirty points on a rim that is a little uneven, and lumps of chocolate that lie elsewhere on each.
    rim = []
    for k in range(30):
        turn = 2*np.pi*k/30; r = 255 + rng.normal(0, 4)
        rim.append((480+dx+r*np.cos(turn), 360+dy+r*np.sin(turn)))
    d.polygon(rim, fill=(178, 124, 70))
    for _ in range(14):
        turn, r, size = rng.uniform(0, 2*np.pi), 215*np.sqrt(rng.uniform(0, 1)), rng.uniform(12, 22)
        x, y = 480+dx+r*np.cos(turn), 360+dy+r*np.sin(turn)
        d.ellipse([x-size, y-0.8*size, x+size, y+0.8*size], fill=(74, 46, 30))
    return im, d, dx, dy, rng.uniform(-8, 8)
def finish(im, rng, kind, ang):
    im = im.rotate(ang, resample=Image.BICUBIC, fillcolor=im.getpixel((2, 2))).filter(ImageFilter.GaussianBlur(1.2))
    a = np.asarray(im).astype(float)
    yy, xx = np.mgrid[0:H, 0:W]
    light = 1 + 0.08*np.sin((xx+yy*0.6)/400+rng.uniform(0, 0.6))
    if kind == 'metal':
        lines = rng.normal(0, 9, (H, 1, 1)); lines = (lines + np.roll(lines, 1, 0))/2
        mask = (a.mean(2, keepdims=True) > 90)
        a = a + lines*mask
    if kind in ('dark', 'brown'):
        a = a + np.kron(rng.normal(0, 3, (H//4, W//4, 1)), np.ones((4, 4, 1)))
    a = a*light[..., None] + noise(rng, 2.5)
    return Image.fromarray(a.clip(0, 255).astype(np.uint8))
def bad(im, d, rng, kind, which, dx, dy):
    if kind == 'brown':
        crack = [(470, 250), (500, 300), (482, 345), (520, 400)]
        if which == 0: d.line([(x+dx, y+dy) for x, y in crack], fill=(60, 52, 48), width=9, joint='curve')
        else: d.ellipse([390+dx, 420+dy, 440+dx, 462+dy], fill=(226, 214, 186))
    elif kind == 'white':
        if which == 0: d.line([600, 300, 690, 330, 700, 380], fill=(206, 204, 198), width=5)
        else: d.ellipse([330, 480, 352, 498], fill=(170, 120, 80))
    elif kind == 'metal':
        if which == 0: d.line([270, 330, 360, 250], fill=(215, 218, 222), width=4)
        else: d.ellipse([620, 400, 668, 436], fill=(118, 108, 98))
    else:
        if which == 0: d.line([620, 250, 690, 330], fill=(62, 63, 66), width=6)
        else: d.polygon([(800+dx, 380), (764+dx, 400), (772+dx, 436), (800+dx, 450)], fill=(70, 72, 75))
os.chdir(sys.argv[1])
for kind in ('white', 'metal', 'dark', 'brown'):
    for sub, n in (('good', 12), ('test', 4)):
        os.makedirs(f'{kind}/{sub}', exist_ok=True)
        for i in range(n):
            rng = np.random.default_rng(1000*len(kind)+ (500 if sub=='test' else 0) + i)
            im, d, dx, dy, ang = biscuit(rng) if kind == 'brown' else base(rng, kind)
            if sub == 'test' and i < 2: bad(im, d, rng, kind, i, dx, dy)
            finish(im, rng, kind, ang).save(f'{kind}/{sub}/{i:02}.png')
