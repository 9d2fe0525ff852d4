"""Work on the host over a whole split, a photograph a thread."""

import collections
from collections.abc import Callable, Iterable, Iterator, Set
from concurrent import futures
from typing import TypeVar

from hfpl_jax.data.dataset import Example, decode_image
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.refine.refiner import Photograph
from hfpl_jax.runtime.cores import available_cores

T = TypeVar("T")


def photograph_of(record: CamRecord, example: Example, threshold: float) -> Photograph:
    image = decode_image(example.image, example.file_name)
    return Photograph(image, record.cams, record.classes, threshold)


def on_host(
    work: Callable[[Photograph], T],
    pairs: Iterable[tuple[dict, Example]],
    *,
    threshold: float,
    done: Set[str],
) -> Iterator[tuple[CamRecord, T]]:
    """What `work` makes of every photograph that is not `done`, in the order of
    `pairs`: CAM records, each with its photograph.
    """

    def worked(pair: tuple[dict, Example]) -> tuple[CamRecord, T]:
        record = CamRecord.decode(pair[0])
        return record, work(photograph_of(record, pair[1], threshold))

    workers = available_cores()
    with futures.ThreadPoolExecutor(workers) as pool:
        waiting: collections.deque[futures.Future] = collections.deque()
        for pair in pairs:
            if pair[0]["file_name"] not in done:
                waiting.append(pool.submit(worked, pair))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
