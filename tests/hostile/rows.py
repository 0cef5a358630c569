"""What is known to be in people's files and in attackers': row by row, and which cases hold it.

The names are patterns of `fnmatch`. Every pattern has a case and every case a row; the last rows
are about outputs and name tests.
"""

ROWS = {
    # Code that would run
    1: ("calls beside good weights", "pk_reduce_*"),
    2: ("bare pickles, INST, OBJ, protocol 4", "pk_raw_* pk_inst pk_obj pk_stack_global"),
    3: ("dotted names", "pk_stack_global pk_dotted_through_torch"),
    4: ("a payload before a broken end", "pk_broken_after_payload"),
    5: ("a second pickle", "pk_second_pickle"),
    6: ("any of the five pickles of old", "pk_legacy_in_*"),
    7: ("tar checkpoints", "pk_legacy_tar"),
    8: ("gadgets in torch and NumPy", "pk_collect_env pk_runstring pk_hub pk_torch_load pk_dill "
        "pk_load_from_bytes pk_posix pk_subprocess pk_runpy"),
    9: ("states, chains, extensions", "pk_set_state pk_state_of_class pk_getattr_chain "
        "pk_extension pk_persistent_text pk_call_of_call pk_partial"),
    10: ("two data.pkl", "pk_dup_datapkl_evil_*"),
    11: ("a member nobody reads", "pk_hidden_extra_member"),
    12: ("pickles by other names", "pk_named_* pk_zip_named_*"),
    13: ("arrays of objects", "pk_npy_object_as_bin"),
    14: ("whole modules", "pk_full_module_benign"),
    15: ("TorchScript's __setstate__", "ts_setstate_from_file"),
    16: ("the pickles of .pt2", "pt2_weight_use_* pt2_opaque_constant pt2_sample_inputs "
         "pt2_weight_pickled_benign"),
    17: (".pt2 without pickles", "pt2_*"),
    18: ("code beside the model", "cwd_hijack"),
    # Zip archives
    19: ("deflate bombs", "zip_bomb_deflate_256M"),
    20: ("members that share bytes", "zip_overlap"),
    21: ("opcode bombs", "zip_bomb_datapkl zip_bomb_opcodes zip_bomb_memo zip_bomb_marks"),
    22: ("checksums", "zip_bad_crc_*"),
    23: ("no checksums", "zip_crc_all_zero"),
    24: ("flags", "zip_flag_*"),
    25: ("names that differ", "zip_local_name_differs zip_cd_points_elsewhere"),
    26: ("duplicates, two roots", "zip_dup_* zip_two_roots"),
    27: ("ambiguous ends", "zip_concatenated_* zip_prefix_junk zip_trailing_junk zip_comment "
         "zip_fake_eocd_in_comment"),
    28: ("names that climb, links", "zip_dotdot_member zip_absolute_member zip_symlink_member"),
    29: ("sizes that lie", "zip_size_lie_* zip_cdoff_beyond_eof zip_count_lie_* "
         "zip_saturated_without_wide"),
    30: ("many members", "zip_9000_entries zip_folder_entry"),
    31: ("sound archives, repacked", "zip_valid* zip_deflated_valid"),
    32: ("records against the pickle", "zip_record_* zip_key_traversal"),
    33: ("big-endian", "zip_byteorder_big"),
    34: ("junk in side records", "zip_byteorder_junk zip_version_junk zip_alignment_junk "
         "zip_format_version_poison zip_method_12 zip_no_datapkl zip_empty_archive*"),
    # Files
    35: ("nothing", "empty empty.*"),
    36: ("cut off", "onebyte* trunc_* st_trunc_* onnx_trunc_*"),
    37: ("zeros where data were", "zeros_tail_* st_zeros_tail zeros zeros.*"),
    38: ("no graph, no weights", "onnx_only_header_field onnx_graph_empty"),
    39: ("error pages, pointers", "html* lfs*"),
    40: ("other formats", "text* png* gzip* 7z* hdf5* gguf* elf* json* random* tar* numpy* "
         "textproto*"),
    41: ("wrong names", "st_named_* pt_named_onnx onnx_named_pt noext onnx_noext upper_ext"),
    42: ("kinds of path", "directory_named_pt empty_directory missing noperm* below_a_file "
         "two_models_in_a_folder"),
    43: ("special files", "fifo fifo_onnx socket_onnx dev_*"),
    44: ("links", "symlink_*"),
    45: ("odd file names", "fname_*"),
    # safetensors
    46: ("header length", "st_len_*"),
    47: ("header JSON", "st_not_json st_nonutf8 st_array st_deep_json st_huge_int st_nan "
         "st_*_off st_negative"),
    48: ("against the format", "st_leading_space st_dup_* st_metadata_numbers"),
    49: ("coverage", "st_dup_keys_diff st_overlap st_hole st_trailing st_data_short st_oob "
         "st_reversed"),
    50: ("shapes and types", "st_shape_* st_unknown_dtype st_missing_field st_extra_field "
         "st_entry_null st_dtype_list"),
    51: ("no tensor", "st_meta_only st_empty_obj"),
    52: ("names", "st_many st_long_name st_name_* st_good st_padded"),
    53: ("an index that climbs", "idx_dotdot idx_absolute idx_symlink idx_hf_cache"),
    54: ("broken indexes", "idx_missing_* idx_self idx_not_dict idx_value_int idx_no_map "
         "idx_empty_map idx_many_shards idx_deep_json idx_fifo_shard idx_good"),
    55: ("hidden and doubled tensors", "idx_extra_tensor idx_dup_across"),
    56: ("pickled shards", "idx_pickle_shard"),
    # ONNX external data
    57: ("locations that climb", "ext_dotdot* ext_etc_passwd ext_absolute ext_devzero "
         "ext_backslash"),
    58: ("links out", "ext_symlink ext_symlink_parent"),
    59: ("links within", "ext_symlink_inside ext_hf_cache ext_subfolder ext_dot_slash"),
    60: ("hard links", "ext_hardlink"),
    61: ("bounds", "ext_missing ext_short ext_offset_eof ext_overflow ext_length_huge ext_neg_* "
         "ext_nonnumeric ext_num_*"),
    62: ("lengths against dims", "ext_len_*"),
    63: ("data that are read only as far as declared", "ext_nolength_sparse_256M ext_amplify*"),
    64: ("odd targets", "ext_empty_location ext_dot ext_dir ext_self ext_fifo ext_nul ext_url "
         "ext_home ext_long_location"),
    65: ("keys", "ext_unknown_keys ext_dup_location ext_no_entries ext_no_location ext_and_raw "
         "ext_checksum_bad ext_prepacked ext_good*"),
    66: ("data named from unusual places", "ext_in_*"),
    # ONNX structure
    67: ("order", "g_no_output g_cycle g_self_loop g_unsorted g_output_dup g_undefined_*"),
    68: ("one name, two values", "g_dup_init g_merge_graph_twice g_init_and_constant "
         "g_input_twice"),
    69: ("versions", "g_opset_* g_ir_*"),
    70: ("unknown operations", "g_unknown_domain g_unknown_op"),
    71: ("depth", "g_deep_*"),
    72: ("recursion", "g_fn_self g_fn_mutual g_fn_uncalled_self g_fn_twice g_fn_deep "
         "g_fn_free_value"),
    73: ("expansion", "g_fn_exponential"),
    74: ("weights in other places", "g_constant_node g_fn_weight g_weight_in_subgraph "
         "t_sparse_ok t_sparse_2d"),
    75: ("constants that grow", "g_constantofshape_bomb g_expand_bomb g_resize_huge "
         "g_pool_* g_loop_endless g_affine_grid_huge g_pad_huge g_stft_huge g_col2im_huge"),
    76: ("weights in effect", "g_weight_via_transpose g_gemm_alpha g_weight_times_100 g_qdq "
         "g_matmul_left g_two_inputs_data"),
    77: ("dead and replaceable", "g_unused_init g_init_and_input"),
    78: ("operations that cannot be", "g_conv_* g_input_* g_lacks_* g_has_more g_misfit_* "
         "g_affine_grid_empty "
         "g_batch_sliced"),
    79: ("names", "g_name_* g_unnamed_init g_empty_optype g_attribute_* g_reference_outside"),
    80: ("size", "g_nodes_20k g_paths_2_60 g_fanout_attr_ints g_good"),
    81: ("wire format", "g_unknown_fields g_group_wire g_wire_6 g_field_0 g_len_lie g_varint_* "
         "textproto.onnx"),
    82: ("dims", "t_dims_*"),
    83: ("data against dims", "t_raw_* t_no_data* t_float_data* t_wrong_field* t_int32_cut "
         "t_location_7"),
    84: ("odd types", "t_dtype_0 t_dtype_999 t_string t_complex64 t_segment"),
    85: ("every type", "t_float* t_bfloat16 t_int[0-9]* t_uint* t_bool"),
    86: ("sparse tensors", "t_sparse_*"),
    # Values
    87: ("not finite", "v_nan v_inf v_ninf v_nan_bias v_nan_bf16 v_nan_float8 "
         "v_nan_last_of_many t_nan"),
    88: ("not finite elsewhere", "v_nan_optimizer_only v_nan_bn_stat v_bn_negvar"),
    89: ("scale", "v_fp32_overflow v_fp64_1e300 v_fp16_65504 v_mixed_scale* v_subnormal*"),
    90: ("beyond binary64", "v_fp64_overflow v_product_*"),
    91: ("degenerate shapes", "v_zero v_dim0 v_dim0_only v_scalar v_1d_only v_5d_7d"),
    92: ("nothing to audit", "v_none v_no_tensor v_ints_only v_top_none v_top_int v_top_str "
         "pickle_top_none pickle_top_int pickle_top_text pickle_ints_only pickle_no_tensor"),
    93: ("layouts", "v_top_tensor v_top_list v_intkeys v_dotted_clash v_checkpoint v_ema_pair "
         "v_gan_pair v_module_prefix pickle_top_* pickle_intkeys"),
    94: ("complex", "v_complex* v_conj_bit v_neg_bit"),
    95: ("types", "v_bfloat16 v_float* v_pt_* v_int* v_uint* v_bool*"),
    96: ("quantised", "v_qint8 v_qchannel pickle_qtensor_*"),
    97: ("no data in the file", "v_meta pickle_meta*"),
    98: ("sparse", "v_sparse_* pickle_sparse_*"),
    99: ("odd kinds of tensor", "v_nested v_param v_buffer_attr v_counter_set "
         "pickle_parameter_of_0_3 pickle_module_of_1_1"),
    100: ("shared memory", "v_tied v_shared_slices v_overlapping_views v_transposed_view "
          "v_expanded v_legacy_tied"),
    101: ("harmless classes", "v_namespace v_numpy_* v_defaultdict v_path pickle_namespace "
          "pickle_partial pickle_foreign_enum pickle_logger"),
    102: ("parametrised weights", "v_weight_norm_* v_spectral_norm v_lora"),
    103: ("hard for power iteration", "v_adversarial_start v_tiny_gap"),
    104: ("long shapes, many tensors", "v_wide_1xN v_tall_Nx1 v_many_3000 st_many"),
    # Pickle streams
    105: ("keys that are slow to hash", "pickle_hash_bomb"),
    106: ("shared, cyclic and deep containers", "pickle_billion_laughs pickle_barren_laughs "
          "pickle_cycle_* pickle_deep_*"),
    107: ("views larger than memory", "pickle_stride0_bomb* pickle_size_overflow "
          "pickle_meta_no_storage pickle_qtensor_alloc pickle_size_wraps pickle_empty_but_huge"),
    108: ("layouts that lie", "pickle_size_* pickle_offset_* pickle_stride_* pickle_rank_* "
          "pickle_numel_* pickle_dtype_* pickle_storage_unknown pickle_legacy_view_meta"),
    109: ("calls that allocate", "pk_bytearray_8G pk_tensor_constructor"),
    110: ("weights that are not in the file", "pk_uninitialised* pickle_legacy_uninit"),
    111: ("damaged streams", "pickle_memo_missing pickle_stack_underflow pickle_no_stop "
          "pickle_empty_pkl pickle_mark_* pickle_*_lie pickle_proto_255 pickle_opcode_unknown "
          "pickle_append_to_tuple pickle_setitem_on_tensor pickle_state_of_tensor "
          "pickle_odd_items pickle_name_not_* pickle_int_not_digits"),
    112: ("storages of old that lie", "pickle_legacy_*"),
    113: ("metadata", "pickle_loc_* pickle_name_* pickle_dup_key pickle_huge_* pickle_nan_epoch"),
}  # fmt: skip

# Rows about what is written, with the targets and tests of `test_outputs` that hold them.
OUTPUT_ROWS = {
    114: ("the output is an input", "same same_dotted hard_link link_to_input"),
    115: ("targets that are there, or cannot be", "a_folder folder_missing "
          "test_an_output_that_exists_is_replaced_only_by_force "
          "test_a_folder_that_cannot_be_written"),
    116: ("no regular file", "dev_null dev_full pipe"),
    117: ("planted links", "link_outside broken_link test_planted_links_are_not_followed"),
    118: ("standard output that fails", "test_a_full_standard_output test_a_broken_pipe"),
}  # fmt: skip
COUNT = 118
