"""Keys of the window: the action of each, and the help that lists them."""

from __future__ import annotations

__all__ = ["ACTIONS", "HELP", "SET_UP_ACTIONS", "SET_UP_HINT", "SKIP_S"]

SKIP_S = 5.0
"""Jump of the left and right keys, s."""

# X keysyms, which OpenCV's Qt windows pass on.
_LEFT, _UP, _RIGHT, _DOWN = 0xFF51, 0xFF52, 0xFF53, 0xFF54
_ESCAPE, _ENTER, _KEYPAD_ENTER = 27, 13, 0xFF8D
_BACKSPACE, _BACKSPACE_KEYSYM = 8, 0xFF08

ACTIONS = {
    ord("q"): "quit",
    _ESCAPE: "back",
    _ENTER: "more",
    _KEYPAD_ENTER: "more",
    ord(" "): "pause",
    ord(","): "step back",
    ord("."): "step",
    _LEFT: "skip back",
    _RIGHT: "skip",
    _UP: "scroll up",
    _DOWN: "scroll down",
    ord("l"): "loop",
    ord("m"): "mirror",
    ord("n"): "narrow",
    ord("t"): "text",
    ord("d"): "figures",
    ord("f"): "full screen",
    ord("s"): "save",
    ord("r"): "set up",
    ord("c"): "controls",
    ord("h"): "help",
}
"""Actions by the code of their key, as ``cv2.pollKey`` gives it, cut to 16 bits."""

SET_UP_ACTIONS = {
    ord("q"): "quit",
    ord("m"): "mask",
    ord("o"): "region",
    _BACKSPACE: "take back",
    _BACKSPACE_KEYSYM: "take back",
    ord("s"): "save parts",
    ord("r"): "set up",
    _ESCAPE: "set up",
}
"""Actions while parts of the picture are being set in which objects count or not."""

SET_UP_HINT = "click corners; then m: nothing counts there, o: only there counts    s: save    r: done"

HELP = (
    ("q, Esc", "quit"),
    ("click, Enter", "photo of a crop, more like it"),
    ("space", "pause"),
    ("comma, dot", "one frame back, forward"),
    ("left, right", "5 seconds back, forward"),
    ("up, down", "objects that do not fit"),
    ("l", "loop"),
    ("m", "mirror, of a camera"),
    ("n", "narrow the search, or not"),
    ("t, d", "kind of text, figures"),
    ("f", "full screen"),
    ("s", "save the picture"),
    ("r", "parts of the picture that count, or not"),
    ("c", "controls"),
    ("h", "this help"),
)
"""Keys and their meanings, as the help shows them."""
