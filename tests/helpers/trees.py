"""Places in what JSON holds, and copies that differ in one of them."""

import copy


def places(tree, path=()):
    """The place of everything in a tree, with what stands there."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*path, key), value
        yield from places(value, (*path, key))


def edited(tree, path, value):
    """A copy with another value at a place; without it where the value is `...`."""
    made = copy.deepcopy(tree)
    at = made
    for key in path[:-1]:
        at = at[key]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return made
