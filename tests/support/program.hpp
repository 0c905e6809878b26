// Runs a program as smtpd would: with an environment of its own, its input from a pipe, its words caught.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace mailbridge::test {

struct Invocation {
  std::vector<std::string> argv;          // argv[0] is the path
  std::vector<std::string> environment;   // "NAME=value"; the program gets nothing else but PATH, and what sanitizers want
  std::optional<std::string> input = "";  // without a value standard input is closed
};

struct Ended {
  int status;       // exit status, or 1000 + the signal that ended it
  std::string out;  // standard output
  std::string err;  // standard error
};

class Program {
 public:
  explicit Program(const Invocation& invocation);
  ~Program();  // ends it if it still runs
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number);
  // Gives it the input that is left and waits, 30 seconds at most.
  Ended wait();

 private:
  pid_t pid_ = -1;
  int in_ = -1;
  int out_ = -1;
  int err_ = -1;
  std::string input_;
};

inline Ended run(const Invocation& invocation) { return Program(invocation).wait(); }

}  // namespace mailbridge::test
