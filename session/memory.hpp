// The one rule for memory that runs out: a step is done completely or not at all, and something that needs no memory replaces it.
//
//   what there is no memory for               what is done instead
//   a session's line, verdict or delivery     the session is forgotten, and its message refused for now: a message with a hole in
//                                             it must not pass
//   a line of the log, a counter              nothing
//   the result of a look-up                   nothing: the recipient is answered at the deadline
#pragma once

#include <new>

namespace mailbridge::session {

// Runs `work`, and `instead` when memory runs out in it.
template <class Work, class Instead>
void within_memory(Work work, Instead instead) {
  try {
    work();
  } catch (const std::bad_alloc&) {
    instead();
  }
}

// For what may be left undone.
template <class Work>
void if_memory_allows(Work work) {
  within_memory(work, [] {});
}

}  // namespace mailbridge::session
