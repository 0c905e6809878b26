// The one rule for memory that runs out: what cannot be done as a whole is not done, and something that needs no memory is done
// instead.
//
// Of a session whose line, verdict or delivery there is no memory for, that is to forget it: its message is refused for now, like that
// of a session whose beginning we never saw, for a message with a hole in it must not pass. Of anything else it is nothing: a line of
// the log is not written, a question is answered at its deadline.
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
