"""The parts of the benchmark that tests/bench/run.sh runs."""
