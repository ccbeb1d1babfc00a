#!/usr/bin/env python3
"""What one writes first: a grpcio server around Pillow, transformers' processor and torch eager, on pixembed.v1, so
that `pixembed load` drives it as it drives pixembed. No batching across requests.

usage: grpcio_server.py MODEL_DIR [--workers 1] [--threads 2]

WORKERS requests at once, each with THREADS threads of torch. Pillow's backend of the processor. Only mean-pooled
float32 vectors, packed. Prints "listening ADDRESS"; ends on SIGTERM.
"""

import argparse
import io
import os
import signal
from concurrent import futures

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import grpc
import PIL.Image
import torch
import transformers
from pixembed.v1 import embedding_pb2, embedding_pb2_grpc

LARGEST_MESSAGE = 64 << 20


class Service(embedding_pb2_grpc.EmbeddingServiceServicer):
    def __init__(self, directory: str, threads: int) -> None:
        transformers.utils.logging.disable_progress_bar()
        self.threads = threads
        self.processor = transformers.AutoImageProcessor.from_pretrained(directory, backend="pil")
        self.model = transformers.AutoModel.from_pretrained(directory, dtype=torch.float32).eval()

    def Embed(self, request, context):  # noqa: N802  # the protocol's name
        torch.set_num_threads(self.threads)  # OpenMP's number is each thread's own
        images = [PIL.Image.open(io.BytesIO(image.data)).convert("RGB") for image in request.images]
        with torch.inference_mode():
            inputs = self.processor(images, return_tensors="pt")
            vectors = self.model(**inputs).last_hidden_state.mean(1).numpy()
        response = embedding_pb2.EmbedResponse(model="peer")
        for i, vector in enumerate(vectors):
            embedding = embedding_pb2.Embedding(
                data_type=embedding_pb2.DATA_TYPE_FLOAT32,
                dimensions=len(vector),
                data=vector.tobytes(),
            )
            response.results.add(index=i, embedding=embedding)
        return response


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_interop_threads(1)
    server = grpc.server(
        futures.ThreadPoolExecutor(arguments.workers),
        options=[("grpc.max_receive_message_length", LARGEST_MESSAGE)],
    )
    service = Service(arguments.model, arguments.threads)
    embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    server.start()
    print(f"listening 127.0.0.1:{port}", flush=True)
    signal.sigwait(signals)
    server.stop(grace=10).wait()


if __name__ == "__main__":
    main()
