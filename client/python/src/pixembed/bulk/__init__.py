"""Embeds more images than one sitting lasts: `pixembed-bulk`.

Images come from folders, files, globs, tar shards (WebDataset) and manifests; vectors go into a
folder of Parquet, Arrow or NumPy parts. A part appears whole or not at all, so that a job that is
killed at any moment goes on where it stopped: no image is lost, and none is there twice.
"""

from pixembed.bulk.job import Job, JobError, Summary, run
from pixembed.bulk.sources import Source, SourceError, sources

__all__ = ["Job", "JobError", "Source", "SourceError", "Summary", "run", "sources"]
