#include "tests/support/program.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <system_error>

namespace mailbridge::test {
namespace {

struct Pipe {
  int ends[2];
  Pipe() {
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe2");
  }
};

void close_one(int& fd) {
  if (fd >= 0) close(fd);
  fd = -1;
}

void read_some(int& fd, std::string& text) {
  char block[65536];
  const ssize_t n = read(fd, block, sizeof block);
  if (n > 0) text.append(block, static_cast<std::size_t>(n));
  else close_one(fd);
}

}  // namespace

Program::Program(const Invocation& invocation) : input_(invocation.input.value_or("")) {
  ::signal(SIGPIPE, SIG_IGN);
  std::vector<std::string> environment{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  for (const char* kept : {"ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"}) {
    if (const char* value = std::getenv(kept)) environment.push_back(std::string(kept) + "=" + value);
  }
  environment.insert(environment.end(), invocation.environment.begin(), invocation.environment.end());
  std::vector<char*> argv;
  for (const std::string& word : invocation.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  std::vector<char*> envp;
  for (const std::string& word : environment) envp.push_back(const_cast<char*>(word.c_str()));
  envp.push_back(nullptr);
  const Pipe in, out, err;
  pid_ = fork();
  if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (pid_ == 0) {
    dup2(in.ends[0], STDIN_FILENO);
    dup2(out.ends[1], STDOUT_FILENO);
    dup2(err.ends[1], STDERR_FILENO);
    if (!invocation.input) close(STDIN_FILENO);
    ::signal(SIGPIPE, SIG_DFL);
    execve(argv[0], argv.data(), envp.data());
    _exit(127);
  }
  close(in.ends[0]);
  close(out.ends[1]);
  close(err.ends[1]);
  in_ = in.ends[1];
  out_ = out.ends[0];
  err_ = err.ends[0];
  fcntl(in_, F_SETFL, O_NONBLOCK);
}

Program::~Program() {
  close_one(in_);
  close_one(out_);
  close_one(err_);
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void Program::signal(int number) {
  if (pid_ > 0) kill(pid_, number);  // -1 would be everybody
}

Ended Program::wait() {
  Ended ended{};
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  std::size_t written = 0;
  while (in_ >= 0 || out_ >= 0 || err_ >= 0) {
    if (in_ >= 0 && written == input_.size()) close_one(in_);
    pollfd fds[] = {{in_, POLLOUT, 0}, {out_, POLLIN, 0}, {err_, POLLIN, 0}};
    poll(fds, 3, 1000);
    if (std::chrono::steady_clock::now() > until) throw std::runtime_error("the program does not end");
    if (fds[0].revents != 0) {
      const ssize_t n = write(in_, input_.data() + written, input_.size() - written);
      if (n > 0) written += static_cast<std::size_t>(n);
      else if (errno != EAGAIN) close_one(in_);
    }
    if (fds[1].revents != 0) read_some(out_, ended.out);
    if (fds[2].revents != 0) read_some(err_, ended.err);
  }
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  ended.status = WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
  return ended;
}

}  // namespace mailbridge::test
