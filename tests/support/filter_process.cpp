#include "tests/support/filter_process.hpp"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace mailbridge::test {

FilterProcess::FilterProcess(const std::vector<std::string>& argv) {
  int protocol[2], log[2];
  require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, protocol) == 0, "socketpair");
  protocol_ = Descriptor(protocol[0]);
  const Descriptor its_protocol(protocol[1]);
  require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, log) == 0, "socketpair");
  log_ = Descriptor(log[0]);
  const Descriptor its_log(log[1]);
  std::vector<char*> words;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  pid_ = fork();
  require(pid_ >= 0, "fork");
  if (pid_ > 0) return;
  dup2(its_protocol.get(), STDIN_FILENO);
  dup2(its_protocol.get(), STDOUT_FILENO);
  dup2(its_log.get(), STDERR_FILENO);
  execv(words[0], words.data());
  _exit(127);
}

FilterProcess::~FilterProcess() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

int FilterProcess::wait() { return *reap(0); }

std::optional<int> FilterProcess::ended() { return reap(WNOHANG); }

std::optional<int> FilterProcess::reap(int options) {
  int status = 0;
  if (waitpid(pid_, &status, options) != pid_) return std::nullopt;
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

}  // namespace mailbridge::test
