// Cuts a stream of bytes into lines. A line ends at LF. The callback gets it without the LF and otherwise unchanged: a CR stays.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mailbridge {

class LineBuffer {
 public:
  // Of a line longer than `max` bytes the callback gets the first `max` bytes, and `cut` is true; the rest up to the LF is
  // dropped. The constructor allocates all memory, so feed() throws only what its callback throws.
  explicit LineBuffer(std::size_t max) : max_(max) { held_.reserve(max); }

  // Calls on_line(std::string_view line, bool cut) for every line that ends within `bytes`. A line that lies within `bytes`
  // as a whole is not copied. The view is valid during the call only.
  template <class OnLine>
  void feed(std::string_view bytes, OnLine&& on_line) {
    while (!bytes.empty()) {
      const std::size_t lf = bytes.find('\n');
      const std::string_view piece = bytes.substr(0, lf);
      const bool ends = lf != std::string_view::npos;
      if (ends && held_.empty() && !cut_ && piece.size() <= max_) {
        on_line(piece, false);
      } else {
        const std::size_t room = max_ - held_.size();
        cut_ = cut_ || piece.size() > room;
        held_.append(piece.substr(0, room));
        if (ends) {
          // The callback may look at the buffer only through its argument, so the state is reset first.
          std::string line;
          line.swap(held_);
          const bool was_cut = cut_;
          cut_ = false;
          on_line(std::string_view(line), was_cut);
          line.clear();
          if (held_.empty()) held_.swap(line);  // keeps the capacity
        }
      }
      if (!ends) return;
      bytes.remove_prefix(lf + 1);
    }
  }

  // The beginning of a line whose LF has not come.
  std::string_view unfinished() const { return held_; }

 private:
  std::size_t max_;
  std::string held_;
  bool cut_ = false;
};

}  // namespace mailbridge
