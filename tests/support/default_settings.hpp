// The settings of a filter that is given no option: the defaults of its table (filter/options.cpp).
#pragma once

#include "filter/options.hpp"

namespace mailbridge::test {

inline const session::Settings& default_settings() {
  static const filter::Settings settings = filter::read_settings(std::vector<filter::GivenOption>{}).value();
  return settings.engine;
}

}  // namespace mailbridge::test
