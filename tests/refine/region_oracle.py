"""Region merging one pair at a time, in plain Python and float64."""

import math


def borders(regions):
    """{(lower, higher): edges between their pixels}."""
    found = {}
    height, width = len(regions), len(regions[0])
    for y in range(height):
        for x in range(width):
            for other in ((y + 1, x), (y, x + 1)):
                if other[0] < height and other[1] < width:
                    a, b = regions[y][x], regions[other[0]][other[1]]
                    if a != b:
                        pair = min(a, b), max(a, b)
                        found[pair] = found.get(pair, 0) + 1
    return found


def grow(features, superpixels, tau, last):
    """(region of each superpixel by its lowest member, rows (T, a, merges))."""
    pixels = {}
    for row, line in zip(superpixels, features, strict=True):
        for name, colour in zip(row, line, strict=True):
            pixels.setdefault(int(name), []).append([float(value) for value in colour])
    members = {name: [name] for name in pixels}

    def mean(group):
        own = [colour for name in group for colour in pixels[name]]
        return [math.fsum(values) / len(own) for values in zip(*own, strict=True)]

    def alike(first, second):
        apart = sum((a - b) ** 2 for a, b in zip(first, second, strict=True))
        return math.exp(-apart / (2 * tau**2))

    finest = borders(superpixels.tolist())
    initial = {(a, b): alike(mean([a]), mean([b])) for a, b in finest}
    threshold, factor, history = 2.0, 1.05, []
    while threshold > last and len(members) > 1:
        owner = {name: region for region, names in members.items() for name in names}
        shared, border = {}, {}
        for (a, b), length in finest.items():
            pair = tuple(sorted((owner[a], owner[b])))
            if pair[0] != pair[1]:
                shared[pair] = shared.get(pair, 0) + length
                border[pair] = border.get(pair, 0.0) + length * initial[a, b]
        around = {
            region: sum(length for pair, length in shared.items() if region in pair)
            for region in members
        }
        means = {region: mean(names) for region, names in members.items()}
        scores = {}
        for (a, b), length in shared.items():
            share = length * (around[a] + around[b]) / (around[a] * around[b])
            beta = min(1.0, math.sqrt(share))
            scores[a, b] = alike(means[a], means[b]) + beta * border[a, b] / length
        best = {}
        for region in members:
            own = [(-score, sum(pair) - region) for pair, score in scores.items() if region in pair]
            best[region] = min(own)[1]
        wishes = {}
        for region, other in best.items():
            pair = tuple(sorted((region, other)))
            wishes[pair] = scores[pair] * (1.0 if best[other] == region else 0.9)
        used, merges = set(), []
        for strength, pair in sorted((-strength, pair) for pair, strength in wishes.items()):
            if -strength >= threshold and not used & set(pair):
                used |= set(pair)
                merges.append(pair)
        if len(merges) < 0.01 * len(members):
            threshold /= factor
            history.append((threshold, factor, 0))
            continue
        factor = max(1 + len(merges) / len(members), 1.01)
        threshold *= factor
        history.append((threshold, factor, len(merges)))
        for a, b in merges:
            members[a] += members.pop(b)
    lowest = {name: region for region, names in members.items() for name in names}
    return [lowest[name] for name in sorted(lowest)], history
