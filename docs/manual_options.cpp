// Prints what is made of the table that a program reads its options by: the list in its manual page, and its completion in a
// shell.
//
//   manual-options filter-mailbridge.8|lda2lmtp.8
//   manual-options filter-mailbridge|lda2lmtp bash|zsh
#include <cstdio>
#include <string_view>

#include "agent/options.hpp"
#include "filter/options.hpp"
#include "options/completion.hpp"
#include "options/manual.hpp"

int main(int argc, char** argv) {
  using namespace mailbridge;
  if (argc < 2) return 1;
  const std::string_view shell = argc > 2 ? argv[2] : "";
  const options::Description description = shell == "bash"  ? options::bash_completion
                                           : shell == "zsh" ? options::zsh_completion
                                                            : options::manual_list;
  const bool agent = std::string_view(argv[1]).find("lda2lmtp") != std::string_view::npos;
  std::fputs((agent ? agent::describe_options : filter::describe_options)(description).c_str(), stdout);
}
