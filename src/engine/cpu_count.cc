#include "src/engine/cpu_count.h"

#include <sched.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace pixembed {
namespace {

// One control group of this process: the line ID:CONTROLLERS:PATH of /proc/self/cgroup.
struct Membership {
  std::string controllers;  // empty for version 2
  std::filesystem::path path;
};

std::vector<Membership> ReadMemberships(const std::filesystem::path& file) {
  std::vector<Membership> memberships;
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    memberships.push_back({line.substr(first + 1, second - first - 1), line.substr(second + 1)});
  }
  return memberships;
}

bool HasCpu(const Membership& membership) {
  return ("," + membership.controllers + ",").find(",cpu,") != std::string::npos;
}

std::optional<double> Ratio(double quota, double period) {
  if (!(quota > 0) || !(period > 0)) return std::nullopt;
  return quota / period;
}

// "150000 100000", or "max 100000".
std::optional<double> QuotaOfV2(const std::filesystem::path& group) {
  std::ifstream stream(group / "cpu.max");
  double quota = 0;
  double period = 0;
  if (!(stream >> quota >> period)) return std::nullopt;
  return Ratio(quota, period);
}

// Two files; a quota of -1 is none.
std::optional<double> QuotaOfV1(const std::filesystem::path& group) {
  std::ifstream quota_stream(group / "cpu.cfs_quota_us");
  std::ifstream period_stream(group / "cpu.cfs_period_us");
  double quota = 0;
  double period = 0;
  if (!(quota_stream >> quota) || !(period_stream >> period)) return std::nullopt;
  return Ratio(quota, period);
}

using QuotaOf = std::optional<double> (*)(const std::filesystem::path& group);

// The smallest quota on the way from `mount`/`path` up to `mount`. Inside a container the path may
// be the host's and not exist here; what is visible then is the mount itself.
std::optional<double> SmallestQuota(const std::filesystem::path& mount, std::filesystem::path path,
                                    QuotaOf quota_of) {
  std::optional<double> smallest;
  for (path = path.relative_path();; path = path.parent_path()) {
    const std::optional<double> quota = quota_of(mount / path);
    if (quota.has_value()) smallest = std::min(*quota, smallest.value_or(*quota));
    if (path.empty()) return smallest;
  }
}

int AffinityCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  // More cores than a cpu_set_t holds.
  return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

std::optional<double> CgroupCpuQuota(const std::filesystem::path& root) {
  const std::filesystem::path mount = root / "sys/fs/cgroup";
  std::optional<double> smallest;
  const auto consider = [&smallest](std::optional<double> quota) {
    if (quota.has_value()) smallest = std::min(*quota, smallest.value_or(*quota));
  };
  for (const Membership& membership : ReadMemberships(root / "proc/self/cgroup")) {
    if (membership.controllers.empty()) {
      consider(SmallestQuota(mount, membership.path, QuotaOfV2));
    } else if (HasCpu(membership)) {
      for (const std::string_view name :
           std::array<std::string_view, 3>{"cpu", "cpu,cpuacct", "cpuacct,cpu"}) {
        consider(SmallestQuota(mount / name, membership.path, QuotaOfV1));
      }
    }
  }
  return smallest;
}

int CoresFor(int affinity, std::optional<double> quota) {
  const int allowed = std::max(affinity, 1);
  if (!quota.has_value() || *quota >= allowed) return allowed;
  return std::max(static_cast<int>(std::lround(*quota)), 1);
}

int UsableCores() { return CoresFor(AffinityCores(), CgroupCpuQuota("/")); }

}  // namespace pixembed
