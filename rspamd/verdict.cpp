#include "rspamd/verdict.hpp"
