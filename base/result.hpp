// A failure is a code for programs and a sentence for people.
#pragma once

#include <string>
#include <utility>

#include <tl/expected.hpp>

namespace mailbridge {

enum class Errc {
  malformed,    // the input does not follow its grammar
  too_large,    // the input is well-formed but beyond a bound of ours
  unsupported,  // the input is well-formed, and asks for something we do not do
  refused,      // the peer, or the system, answered with a refusal
};

struct Fault {
  Errc code;
  // One sentence without a final full stop; may quote the peer's bytes: pass it through text.hpp before it is shown.
  std::string what;
};

template <class T>
using Result = tl::expected<T, Fault>;

inline tl::unexpected<Fault> fail(Errc code, std::string what) { return tl::unexpected<Fault>(Fault{code, std::move(what)}); }

}  // namespace mailbridge
