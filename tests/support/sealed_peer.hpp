// The other end of HTTPCrypt, for tests and fuzzers: it has the secret key that belongs to the public key below.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "rspamd/httpcrypt.hpp"
#include "rspamd/outgoing.hpp"

namespace mailbridge::testing {

// What a client of that peer encrypts with; the same each time.
rspamd::Sealing sealing();

// nonce | MAC | what was encrypted.
std::string seal(std::string_view plain);

// The outer reply.
std::string sealed_reply(std::string_view inner);

// The inner request of a whole outer one; empty when that does not verify.
std::string opened_request(std::string_view bytes);

}  // namespace mailbridge::testing
