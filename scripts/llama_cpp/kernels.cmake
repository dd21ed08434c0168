# Changes llama.cpp where it is built: docs/adr/0023. CMake includes this file after project("ggml").
include(CheckCXXCompilerFlag)

# No AMX. With GCC 12 its first product crashes (the compiler's _tile_loadconfig does not tell that it reads
# all 64 bytes of what it loads, so they are never written), and what it computes is not covered by our tests.
check_cxx_compiler_flag("-mno-amx-tile -mno-amx-int8 -mno-amx-bf16" GEMMAVOICE_NO_AMX)
if(GEMMAVOICE_NO_AMX)
  string(APPEND CMAKE_C_FLAGS " -mno-amx-tile -mno-amx-int8 -mno-amx-bf16")
  string(APPEND CMAKE_CXX_FLAGS " -mno-amx-tile -mno-amx-int8 -mno-amx-bf16")
endif()

# Adds a kernel. A source in which the places are not found stops the build.
set(gemmavoice_source ${CMAKE_CURRENT_LIST_DIR})
set(gemmavoice_sgemm ${CMAKE_CURRENT_SOURCE_DIR}/src/ggml-cpu/llamafile/sgemm.cpp)

function(gemmavoice_insert file text before)
  string(FIND "${text}" "${before}" first)
  string(FIND "${text}" "${before}" last REVERSE)
  if(first EQUAL -1 OR NOT first EQUAL last)
    message(FATAL_ERROR "llama.cpp's sgemm.cpp has '${before}' not once: ${file} does not fit it")
  endif()
  file(READ ${gemmavoice_source}/${file} added)
  string(REPLACE "${before}" "${added}${before}" text "${text}")
  set(text "${text}" PARENT_SCOPE)
endfunction()

file(READ ${gemmavoice_sgemm} text)
string(FIND "${text}" "GEMMAVOICE_Q4_1" present)
if(present EQUAL -1)
  gemmavoice_insert(q4_1.inc "${text}" "bool llamafile_sgemm(const struct ggml_compute_params * params")
  gemmavoice_insert(q4_1_case.inc "${text}" "    case GGML_TYPE_IQ4_NL: {")
  file(WRITE ${gemmavoice_sgemm} "${text}")
endif()
