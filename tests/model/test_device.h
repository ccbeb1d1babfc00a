// The device that the tests of models run on.
#ifndef PIXEMBED_TESTS_MODEL_TEST_DEVICE_H_
#define PIXEMBED_TESTS_MODEL_TEST_DEVICE_H_

#include <gtest/gtest.h>

#include <cstdlib>

#include "src/model/model.h"

namespace pixembed {

// The CPU, or what PIXEMBED_TEST_DEVICE names as --device does; see tests/gpu/run.sh.
inline Device TestDevice() {
  const char* text = std::getenv("PIXEMBED_TEST_DEVICE");
  const auto devices = ResolveDevices(text == nullptr ? "cpu" : text);
  if (devices.ok()) return devices->front();
  ADD_FAILURE() << devices.status();
  return Device{};
}

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_MODEL_TEST_DEVICE_H_
