"""One HTML page about a registry: what there is, how good, of what it is made, what composes.

It needs no network, no PyTorch and nothing beside itself. What skills say is a stranger's text.
"""

from skillkit.report.page.document import build as build
