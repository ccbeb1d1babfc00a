// How many cores this process may use, as opposed to how many the machine has.
#ifndef PIXEMBED_SRC_ENGINE_CPU_COUNT_H_
#define PIXEMBED_SRC_ENGINE_CPU_COUNT_H_

#include <filesystem>
#include <optional>

namespace pixembed {

// The CPU quota of this process's control groups, in cores (1.5: 150 ms every 100 ms), the smallest
// over the group and those above it; nothing where there is none. Reads
// <root>/proc/self/cgroup and <root>/sys/fs/cgroup, version 2 (cpu.max) or 1 (cpu.cfs_quota_us).
// Files that are missing or malformed set no limit.
std::optional<double> CgroupCpuQuota(const std::filesystem::path& root);

// The smaller of the cores that the affinity mask allows and the quota, rounded to the nearest
// whole core (half a core up), at least 1: below it a thread would idle, above it the quota would
// throttle all of them for a part of each period.
int CoresFor(int affinity, std::optional<double> quota);

// CoresFor of this process.
int UsableCores();

}  // namespace pixembed

#endif  // PIXEMBED_SRC_ENGINE_CPU_COUNT_H_
