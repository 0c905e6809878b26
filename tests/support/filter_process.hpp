// A filter's process as smtpd starts it: one stream socket is its standard input and output, another socket its standard error.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "tests/support/descriptor.hpp"

namespace mailbridge::test {

class FilterProcess {
 public:
  // argv[0] is the path. The filter inherits the environment.
  explicit FilterProcess(const std::vector<std::string>& argv);
  ~FilterProcess();  // kills it if it still runs
  FilterProcess(const FilterProcess&) = delete;
  FilterProcess& operator=(const FilterProcess&) = delete;

  pid_t pid() const { return pid_; }
  int protocol() const { return protocol_.get(); }  // our end of its standard input and output
  int log() const { return log_.get(); }            // our end of its standard error
  void close_protocol() { protocol_.close(); }      // smtpd's way to end a filter
  void close_log() { log_.close(); }

  // Its exit status, or 1000 + the signal that ended it; waits for its end.
  int wait();
  // The same, but nothing if it still runs.
  std::optional<int> ended();

 private:
  std::optional<int> reap(int options);

  Descriptor protocol_;
  Descriptor log_;
  pid_t pid_ = -1;
};

}  // namespace mailbridge::test
