// GET of the server's metrics, and what it answers, as a scraper reads it.
#ifndef PIXEMBED_TESTS_SERVER_SCRAPE_H_
#define PIXEMBED_TESTS_SERVER_SCRAPE_H_

#include <gtest/gtest.h>

#include <cstddef>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "tests/server/raw_connection.h"

namespace pixembed {

// The whole answer to a request of one line.
inline std::string AskHttp(const std::string& address, const std::string& line,
                           const std::string& rest = "\r\n") {
  const RawConnection connection(address);
  EXPECT_TRUE(connection.connected());
  (void)connection.Send(line + " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n" + rest);
  return connection.ReceiveAll();
}

// What a scrape says.
struct Scrape {
  explicit Scrape(const std::string& address) {
    const std::string answer = AskHttp(address, "GET /metrics");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
    std::istringstream lines(answer.substr(answer.find("\r\n\r\n") + 4));
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("# TYPE ")) {
        std::istringstream words(line.substr(7));
        std::string name;
        std::string type;
        words >> name >> type;
        EXPECT_TRUE(types.emplace(name, type).second) << name << " has two families";
      } else if (!line.starts_with('#')) {
        const std::size_t space = line.rfind(' ');
        EXPECT_TRUE(values.emplace(line.substr(0, space), std::stod(line.substr(space + 1))).second)
            << line << " comes twice";
      }
    }
  }

  // Of `name{label="value",...}`, the labels sorted; -1 where there is no such series.
  double Of(const std::string& series) const {
    const auto found = values.find(series);
    return found == values.end() ? -1 : found->second;
  }

  std::map<std::string, std::string> types;  // of the families, by name
  std::map<std::string, double> values;
};

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_SERVER_SCRAPE_H_
