// Prints what is made of the table that a program reads its options by: the list in its manual page, and its completion in a
// shell.
//
//   manual-options filter-mailbridge.8|lda2lmtp.8
//   manual-options filter-mailbridge|lda2lmtp bash|zsh
#include <cstdio>
#include <string_view>

#include "app/completion.hpp"
#include "app/manual.hpp"
#include "filter/options.hpp"
#include "lmtp/options.hpp"

int main(int argc, char** argv) {
  using namespace mailbridge;
  if (argc < 2) return 1;
  const std::string_view shell = argc > 2 ? argv[2] : "";
  const app::Description description = shell == "bash"  ? app::bash_completion
                                       : shell == "zsh" ? app::zsh_completion
                                                        : app::manual_list;
  const bool agent = std::string_view(argv[1]).find("lda2lmtp") != std::string_view::npos;
  std::fputs((agent ? lmtp::describe_options : filter::describe_options)(description).c_str(), stdout);
}
