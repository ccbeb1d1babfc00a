#include "src/engine/cpu_count.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

namespace pixembed {
namespace {

// A root with the files that matter.
class CpuCountTest : public ::testing::Test {
 protected:
  CpuCountTest() { std::filesystem::create_directories(root_); }
  ~CpuCountTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::filesystem::path& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }

  const std::filesystem::path root_ =
      std::filesystem::path(::testing::TempDir()) /
      ("cpu_count." + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
};

TEST_F(CpuCountTest, NoFilesNoQuota) { EXPECT_EQ(CgroupCpuQuota(root_), std::nullopt); }

TEST_F(CpuCountTest, Version2InAContainer) {
  Write("proc/self/cgroup", "0::/\n");
  Write("sys/fs/cgroup/cpu.max", "150000 100000\n");
  EXPECT_EQ(CgroupCpuQuota(root_), 1.5);
}

TEST_F(CpuCountTest, Version2WithoutALimit) {
  Write("proc/self/cgroup", "0::/\n");
  Write("sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_EQ(CgroupCpuQuota(root_), std::nullopt);
}

TEST_F(CpuCountTest, TheSmallestQuotaOnTheWayUpCounts) {
  Write("proc/self/cgroup", "0::/kubepods/pod1/container\n");
  Write("sys/fs/cgroup/kubepods/pod1/container/cpu.max", "max 100000\n");
  Write("sys/fs/cgroup/kubepods/pod1/cpu.max", "200000 100000\n");
  Write("sys/fs/cgroup/kubepods/cpu.max", "800000 100000\n");
  EXPECT_EQ(CgroupCpuQuota(root_), 2.0);
}

TEST_F(CpuCountTest, Version1) {
  Write("proc/self/cgroup", "12:memory:/docker/abc\n5:cpu,cpuacct:/docker/abc\n");
  Write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "300000\n");
  Write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(CgroupCpuQuota(root_), 3.0);
}

TEST_F(CpuCountTest, Version1InsideAContainerWhereTheHostsPathDoesNotExist) {
  Write("proc/self/cgroup", "5:cpu,cpuacct:/docker/abc\n");
  Write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n");
  Write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(CgroupCpuQuota(root_), 0.5);
}

TEST_F(CpuCountTest, Version1WithoutALimit) {
  Write("proc/self/cgroup", "5:cpu:/\n");
  Write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  Write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(CgroupCpuQuota(root_), std::nullopt);
}

TEST_F(CpuCountTest, CpusetIsNotCpu) {
  Write("proc/self/cgroup", "5:cpuset:/\n");
  Write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");
  Write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(CgroupCpuQuota(root_), std::nullopt);
}

TEST_F(CpuCountTest, MalformedFilesSetNoLimit) {
  Write("proc/self/cgroup", "nonsense\n0::/\n::\n");
  Write("sys/fs/cgroup/cpu.max", "-5 0\n");
  EXPECT_EQ(CgroupCpuQuota(root_), std::nullopt);
}

TEST(CoresFor, TheSmallerOfAffinityAndQuotaRounded) {
  EXPECT_EQ(CoresFor(8, std::nullopt), 8);
  EXPECT_EQ(CoresFor(8, 16.0), 8);
  EXPECT_EQ(CoresFor(8, 2.0), 2);
  EXPECT_EQ(CoresFor(8, 1.4), 1);
  EXPECT_EQ(CoresFor(8, 1.5), 2);
  EXPECT_EQ(CoresFor(8, 0.1), 1);
  EXPECT_EQ(CoresFor(0, std::nullopt), 1);
}

TEST(UsableCores, IsAtLeastOne) { EXPECT_GE(UsableCores(), 1); }

}  // namespace
}  // namespace pixembed
