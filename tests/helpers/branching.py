"""A model for the tests of the export, on whatever Paddle: no tracing can follow it."""

import paddle


class Branching(paddle.nn.Layer):
    """What it computes depends on the values that it gets."""

    def __init__(self):
        super().__init__()
        self.layer = paddle.nn.Conv2D(3, 2, 1)

    def forward(self, x):
        logit = self.layer(x)
        if x.mean() > 0:
            return [logit]
        return [-logit]
