#!/usr/bin/env python3
"""The reference's bare forward pass, to set beside forward_benchmark: transformers, eager, float32.

usage: eager_forward.py MODEL_DIR [--shapes 2x1,1x2] [--batches 1,4] [--seconds 10]

A shape is PROCESSESxTHREADS. Prints a line of JSON for each shape and batch size, with the page
faults per image. What it times is model(pixel_values).last_hidden_state.mean(1), without the image processor.
"""

import argparse
import json
import multiprocessing
import os
import resource
import time

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
WARM_UP = 3


def work(directory: str, threads: int, batch: int, seconds: float, barrier, results) -> None:
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    model = transformers.AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    side = model.config.image_size
    pixels = torch.rand(batch, 3, side, side)
    with torch.inference_mode():
        for _ in range(WARM_UP):
            model(pixel_values=pixels).last_hidden_state.mean(1)
        barrier.wait()
        before, start, images = resource.getrusage(resource.RUSAGE_SELF), time.monotonic(), 0
        while time.monotonic() - start < seconds:
            model(pixel_values=pixels).last_hidden_state.mean(1)
            images += batch
        elapsed, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    results.put((images, images / elapsed, cpu, after.ru_minflt - before.ru_minflt))


def measure(directory: str, shape: str, batch: int, seconds: float) -> dict[str, object]:
    context = multiprocessing.get_context("spawn")
    workers, threads = map(int, shape.split("x"))
    barrier, results = context.Barrier(workers), context.Queue()
    processes = [context.Process(target=work, args=(directory, threads, batch, seconds, barrier, results))
                 for _ in range(workers)]
    for process in processes:
        process.start()
    images, rates, cpus, faults = zip(*(results.get() for _ in processes))
    for process in processes:
        process.join()
    return {"shape": shape, "batch": batch, "images": sum(images), "images_per_second": round(sum(rates), 3),
            "images_per_cpu_second": round(sum(images) / sum(cpus), 3),
            "page_faults_per_image": round(sum(faults) / sum(images), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--shapes", default="2x1,1x2")
    parser.add_argument("--batches", default="1,4")
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    for shape in arguments.shapes.split(","):
        for batch in arguments.batches.split(","):
            print(json.dumps(measure(arguments.directory, shape, int(batch), arguments.seconds)), flush=True)


if __name__ == "__main__":
    main()
