// Prints the list of options in a program's manual page, from the table that the program reads them by.
//
//   manual-options filter-mailbridge.8|lda2lmtp.8
#include <cstdio>
#include <string_view>

#include "filter/options.hpp"
#include "lmtp/options.hpp"

int main(int argc, char** argv) {
  const bool agent = argc > 1 && std::string_view(argv[1]).ends_with("lda2lmtp.8");
  std::fputs((agent ? mailbridge::lmtp::options_manual() : mailbridge::filter::options_manual()).c_str(), stdout);
}
