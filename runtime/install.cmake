# Installs the library `ballast` with what others need to build against it: the one header, a CMake
# package (find_package(ballast), target ballast::ballast) and a pkg-config file. Included where the
# target is defined.
include(CMakePackageConfigHelpers)

set_target_properties(ballast PROPERTIES
  VERSION ${PROJECT_VERSION}
  SOVERSION ${PROJECT_VERSION_MAJOR}
  PUBLIC_HEADER ${CMAKE_CURRENT_LIST_DIR}/ballast.h)
target_include_directories(ballast INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
# In C++, mpi.h of Open MPI 4 and MPICH adds the bindings that MPI dropped in 2012, and with them
# symbols that a program linked to the C library alone does not have.
set(SKIP_MPICXX OMPI_SKIP_MPICXX=1 MPICH_SKIP_MPICXX=1)
target_compile_definitions(ballast PUBLIC "$<$<COMPILE_LANGUAGE:CXX>:${SKIP_MPICXX}>")
# Hidden visibility does not reach templates of the standard library.
set(EXPORTS ${CMAKE_CURRENT_LIST_DIR}/exports.map)
target_link_options(ballast PRIVATE LINKER:--version-script=${EXPORTS})
set_target_properties(ballast PROPERTIES LINK_DEPENDS ${EXPORTS})

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/ballast)
install(TARGETS ballast EXPORT ballast_targets)
install(EXPORT ballast_targets FILE ballastTargets.cmake NAMESPACE ballast::
        DESTINATION ${package_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/ballastConfig.cmake.in ballastConfig.cmake
                              INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(ballastConfigVersion.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/ballastConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/ballastConfigVersion.cmake
        DESTINATION ${package_dir})

# The header includes mpi.h and users call MPI themselves. MPIs differ in the names of their own
# pkg-config files, so the flags of the MPI that Ballast was built with are written out. The prefix
# follows the file, so the tree can be moved.
set(MPI_CFLAGS ${MPI_C_INCLUDE_DIRS})
list(TRANSFORM MPI_CFLAGS PREPEND "-I")
list(TRANSFORM SKIP_MPICXX PREPEND "-D" OUTPUT_VARIABLE SKIP_FLAGS)
list(APPEND MPI_CFLAGS ${SKIP_FLAGS})
list(JOIN MPI_CFLAGS " " MPI_CFLAGS)
list(JOIN MPI_C_LIBRARIES " " MPI_LIBS)
file(RELATIVE_PATH PREFIX_FROM_PKGCONFIG ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig
     ${CMAKE_INSTALL_PREFIX})
configure_file(${CMAKE_CURRENT_LIST_DIR}/ballast.pc.in ballast.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/ballast.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
