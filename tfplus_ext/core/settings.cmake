# What every face is compiled with; included by the project that holds the core.
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

set(TFPLUS_SANITIZE "" CACHE STRING "sanitizers for a test build: address, undefined, thread")
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -g1")
# Equal results on every processor: no fused multiply-add behind our back. `errno` of sqrt is nobody's business.
add_compile_options(-Wall -Wextra -ffp-contract=off -fno-math-errno -fno-trapping-math)
if(TFPLUS_SANITIZE)
  add_compile_options(-O1 -fsanitize=${TFPLUS_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${TFPLUS_SANITIZE})
endif()
