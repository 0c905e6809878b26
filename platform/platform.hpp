// What each operating system does in its own way. This header is the contract. The build takes one file that implements it:
// linux.cpp, freebsd.cpp or openbsd.cpp, or posix.cpp, which needs nothing but POSIX.1-2008 (docs/portability.md has a table).
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <tl/expected.hpp>

#include "base/result.hpp"

namespace mailbridge::platform {

// Confines this process and its threads, so that hostile content that took over the filter could do little. From now on they
// start no program, and create, write, remove and rename files only below these directories. (On OpenBSD they may also write
// existing files elsewhere.) Reading files and using sockets stay allowed. A directory that does not exist is skipped. The fault
// says that this system cannot do it, or does not allow it.
Result<void> confine(const std::vector<std::string>& writable);

// Creates a file without a name in `directory`, for reading and writing, and returns its descriptor. The file is gone when the
// descriptor is closed. Only its owner may read it, and programs that are started do not inherit it.
tl::expected<int, std::error_code> nameless_file(const std::string& directory);

struct Process {
  std::string name;  // of its program
  pid_t parent;
  std::string started;  // the system's text for its start, to tell it from a later process with the same id
};
// The process with this id. Nothing if there is no such process, or if this system does not tell.
std::optional<Process> process(pid_t id);

// From now on getaddrinfo(3) loads no module of nsswitch.conf(5) into this process, because a statically linked program could
// crash in it. Does nothing on systems without such modules or without static linking.
void look_names_up_without_modules();

// bind(2) of an address without a port leaves the choice of the port to connect(2), which can use the same port for connections
// to different destinations. On systems that cannot do this, bind(2) takes a port of its own.
void choose_port_when_connecting(int socket);

// The state of a connection that connect(2) of a non-blocking socket to `address` did not make at once: 0 if it is made, EALREADY
// if it is still under way, otherwise the error as in errno. An error is told only once.
int connect_outcome(int socket, const sockaddr* address, socklen_t size);

// The shell command that goes before another one to run it as USER with GROUP as its only group. Empty on systems without such a
// command.
std::string_view run_as_user();

}  // namespace mailbridge::platform
