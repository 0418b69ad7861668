"""Class names of the COCO data set, in the order that detectors number them."""

__all__ = ["COCO_CLASSES", "COCO_NUMBERS"]

COCO_CLASSES: tuple[str, ...] = tuple(
    """person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|traffic light|fire hydrant|stop sign
    |parking meter|bench|bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe|backpack|umbrella|handbag
    |tie|suitcase|frisbee|skis|snowboard|sports ball|kite|baseball bat|baseball glove|skateboard|surfboard
    |tennis racket|bottle|wine glass|cup|fork|knife|spoon|bowl|banana|apple|sandwich|orange|broccoli|carrot
    |hot dog|pizza|donut|cake|chair|couch|potted plant|bed|dining table|toilet|tv|laptop|mouse|remote|keyboard
    |cell phone|microwave|oven|toaster|sink|refrigerator|book|clock|vase|scissors|teddy bear|hair drier
    |toothbrush""".replace("\n    ", "").split("|")
)

# Numbers of the data set's annotations that belong to no class.
_GAPS = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_NUMBERS: tuple[int, ...] = tuple(number for number in range(91) if number not in _GAPS)
"""Numbers of the classes in the data set's annotations, which some detectors use."""
