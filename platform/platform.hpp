// What each operating system does in its own way. This header is the contract, and the build takes one file that keeps it:
// linux.cpp, freebsd.cpp or openbsd.cpp, or posix.cpp, which wants nothing but POSIX.1-2008 (docs/portability.md has a table).
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

// What a filter that was taken over by hostile content could still do is made small: from now on this process and its threads
// start no program, and create, write, remove and rename files beneath these directories only (OpenBSD lets them write what is
// there elsewhere, too). Reading and sockets stay as they are. A directory that is missing is passed over. The fault: this system
// cannot, or may not.
Result<void> confine(const std::vector<std::string>& writable);

// The descriptor of a new file in `directory`, for reading and writing, that has no name: it is gone when the descriptor is
// closed. Only its owner may read it, and no program that is started inherits it.
tl::expected<int, std::error_code> nameless_file(const std::string& directory);

struct Process {
  std::string name;  // of its program
  pid_t parent;
  std::string started;  // tells a process from a later one with the same id
};
// Nothing when there is no such process, or when this system does not say.
std::optional<Process> process(pid_t id);

// From now on getaddrinfo(3) loads no module of nsswitch.conf(5) into this process: a statically linked one could crash in it.
// Where there are no such modules, or no static linking, nothing is to be done.
void look_names_up_without_modules();

// bind(2) of an address without a port is to leave the choice of the port to connect(2), which can give the same one to
// connections with different destinations. Where that cannot be had, bind(2) takes a port of its own.
void choose_port_when_connecting(int socket);

// What became of a connection that connect(2) of a non-blocking socket to `address` did not make at once: 0 when it is made,
// EALREADY when it still can be, otherwise the reason in errno's terms, which is told once.
int connect_outcome(int socket, const sockaddr* address, socklen_t size);

// In the shell, before a command that is to run as USER with GROUP as the only group; empty where there is no such command.
std::string_view run_as_user();

}  // namespace mailbridge::platform
