// Any system that keeps to POSIX.1-2008.
#include "platform/platform.hpp"
#include "platform/system/plain.hpp"

namespace mailbridge::platform {

Result<void> confine(const std::vector<std::string>&) { return fail(Errc::unsupported, "POSIX has no means"); }

tl::expected<int, std::error_code> nameless_file(const std::string& directory) { return plain::nameless_file(directory); }

std::optional<Process> process(pid_t) { return std::nullopt; }

void look_names_up_without_modules() {}

void choose_port_when_connecting(int) {}

int connect_outcome(int socket, const sockaddr*, socklen_t) { return plain::connect_outcome(socket); }

std::string_view run_as_user() { return {}; }

}  // namespace mailbridge::platform
