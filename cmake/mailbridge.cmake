# What every target of mailbridge shares.
add_library(mb_flags INTERFACE)
target_compile_options(mb_flags INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow)
target_include_directories(mb_flags INTERFACE ${PROJECT_SOURCE_DIR})
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # gcc bug 105329: false alarms about "literal" + std::string at -O2; and at -O3 about what is in a std::optional or was moved.
  target_compile_options(mb_flags INTERFACE -Wno-restrict -Wno-maybe-uninitialized)
endif()
if(MAILBRIDGE_WERROR)
  target_compile_options(mb_flags INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # clang 14 sees libstdc++'s coroutines only when told to.
  target_compile_definitions(mb_flags INTERFACE ASIO_HAS_CO_AWAIT=1 ASIO_HAS_STD_COROUTINE=1)
endif()
if(MAILBRIDGE_SANITIZE)
  target_compile_options(mb_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  target_link_options(mb_flags INTERFACE -fsanitize=address,undefined)
endif()
if(MAILBRIDGE_FUZZ)
  target_compile_options(mb_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# mb_room(NAME SOURCES… HEADERS… [LINK TARGETS…]): one room, one static library mb_NAME. Its headers are checked one by one
# (tests/structure/CMakeLists.txt reads the global property MB_HEADERS).
function(mb_room name)
  cmake_parse_arguments(ARG "" "" "SOURCES;HEADERS;LINK" ${ARGN})
  add_library(mb_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(mb_${name} PUBLIC mb_flags ${ARG_LINK})
  foreach(header IN LISTS ARG_HEADERS)
    set_property(GLOBAL APPEND PROPERTY MB_HEADERS "${name}/${header}|mb_${name}")
  endforeach()
endfunction()

# mb_test(ROOM FILES…): the room's *_test.cpp files as one program, each test a ctest.
function(mb_test room)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${room}_tests ${ARG_SOURCES})
  target_link_libraries(${room}_tests PRIVATE mb_${room} ${ARG_LINK} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${room}_tests PRIVATE MB_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  # NO_PRETTY_VALUES: names as their generators make them, not as GoogleTest prints the parameters.
  gtest_discover_tests(${room}_tests TEST_PREFIX "${MB_TEST_PREFIX}${room}." NO_PRETTY_VALUES DISCOVERY_TIMEOUT 60)
endfunction()

# mb_install(DIRECTORY NAMES…): installs programs (names of targets), files and whole directories. CMake's install() removes a file and
# writes it anew; smtpd bounces a mail whose agent cannot be started in between.
function(mb_install directory)
  foreach(name IN LISTS ARGN)
    if(TARGET ${name})
      set_target_properties(${name} PROPERTIES BUILD_WITH_INSTALL_RPATH ON)
      set(arguments "\"$<TARGET_FILE:${name}>\" \"${directory}/${name}\" TRUE \"${CMAKE_STRIP}\"")
    else()
      cmake_path(GET name FILENAME file)
      set(arguments "\"${CMAKE_CURRENT_SOURCE_DIR}/${name}\" \"${directory}/${file}\" FALSE \"\"")
    endif()
    install(CODE "include(\"${PROJECT_SOURCE_DIR}/cmake/replace.cmake\")\nmb_replace(${arguments})")
  endforeach()
endfunction()
