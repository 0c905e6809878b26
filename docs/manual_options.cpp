// Prints the list of options in filter-mailbridge(8), from the table that the program reads them by.
#include <cstdio>

#include "filter/options.hpp"

int main() { std::fputs(mailbridge::filter::options_manual().c_str(), stdout); }
